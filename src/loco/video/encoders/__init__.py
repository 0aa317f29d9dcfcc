"""What turns the pictures and the sound of a step into a vector, each by itself in a file.

`base` says what an encoder must have; they know nothing of files of video.
"""
