"""What a program draws, and how likely its draws are: one time loop, terms per site."""
