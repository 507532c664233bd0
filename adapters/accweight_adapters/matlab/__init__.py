"""MAT-files of MATLAB 5 to 7."""
