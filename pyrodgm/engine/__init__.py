"""The engine: drawing from programs and scoring, frame by frame and by site."""
