"""Pictures, sounds, videos and files of what models draw and predict."""
