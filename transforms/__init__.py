"""The steps between the read and the write, one a file: thin DoFns around pure functions."""
