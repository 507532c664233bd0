"""MAT-files of MATLAB."""
