"""A bounded HDF5 parser for weights, because no library bounds time and memory on hostile files.

A file may come from anyone, and describing it must end soon and in little memory. These were the
measurements before the modules were kept, on damaged copies of small files and on files of a few
hundred bytes written to do harm:

- h5py (HDF5 2.0) did not come back from 6 of 10,000 copies in which one to four bytes were
  overwritten, and nothing bounds what it allocates.
- pyfive 1.3.0 (pure Python; it gives the offsets of values and chunks) was put behind
  `file.Hdf5File` with its reads bounded by `bytes.source`: 485 lines instead of 1,221. It read
    all undamaged test files correctly, and hung on none of 60,000 damaged copies. But:

  - a header of 112 bytes that continues into itself took 15 s of processor time (here 0.2 s);
    without bounds on reads it does not end in version 2, nor do trees whose nodes share children;
  - an attribute that claims 10**8 strings in a file of 200 bytes allocated 763 MiB, 8 bytes per
  claimed string; 2 of the 60,000 copies asked for 128 GiB and 2 EiB;
  - it checks less, and no header checksums: of 10,000 copies of one file in the oldest version it
  described 2,037 differently from the original without an error (here 632), in the newest
  719 (here 168);
  - by itself it inflates chunks without a limit (1 MB became 430 MiB, until the memory limit was
  reached), reads bfloat16 as float16, and reads zeros where the values are in another
  file;
  - describing took 1.6 to 2.7 times as long, for as many bytes read, and importing 0.13 s more, and
  every user would need fsspec and numcodecs (38 MB) and NumPy 2.

  It also lacks the newer chunk indexes (layout version 4), and addresses of 4 bytes.

``tests/test_hdf5_lies.py`` has such files. Only the structures that describe tensors are parsed; an
unknown structure is an error, and no reference is followed outside the file.
"""
