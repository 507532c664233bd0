"""HDF5, as far as weights lie in it, parsed here because no library that reads it is bounded.

A file may come from anyone, and describing it must end soon, in little memory, whatever it says.
What was measured before these modules were kept, on damaged copies of small files and on files
of a few hundred bytes written to do harm:

- h5py (HDF5 2.0) did not come back from 6 of 10,000 copies in which one to four bytes were
  overwritten, and nothing bounds what it allocates.
- pyfive 1.3.0 (pure Python; it gives the offsets of values and chunks) was put behind
  `file.Hdf5File` with its reads bounded by `bytes.source`: 485 lines instead of 1,221. It read
  every whole file of the tests alike, and hung on none of 60,000 damaged copies. But:

  - a header of 112 bytes that continues into itself took 15 s of processor time (here 0.2 s);
    without bounds on reads it does not end in version 2, nor do trees whose nodes share children;
  - an attribute that claims 10**8 texts in a file of 200 bytes filled 763 MiB, 8 bytes for each
    one claimed, before it looked for them; 2 of the 60,000 copies asked for 128 GiB and 2 EiB;
  - it checks less, and no checksum of headers: of 10,000 copies of one file in the oldest
    version it described 2,037 otherwise than the whole file (here 632), in the newest 719
    (here 168), without a word;
  - by itself it inflates chunks without a limit (1 MB filled 430 MiB, until the memory allowed
    was used up), takes bfloat16 for float16, and reads zeros where the values lie in another
    file;
  - it took 1.6 to 2.7 times the time to describe, for as many bytes, and 0.13 s more to import,
    and everybody would need fsspec and numcodecs (38 MB) and NumPy 2.

  The newer lists of chunks (layout version 4) it does not read either, nor addresses of 4 bytes.

``tests/test_hdf5_lies.py`` has such files. Only what describes tensors is read here; every
structure that is not known is an error, and none is followed beyond the file.
"""
