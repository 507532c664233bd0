"""Engines: who walks the blocks of a run, if it is not threads of this process.

Workers of an executor do, on this machine or on many:

    pipeline -> Work -> Driver --- tasks ---> workers: read, walk, draw, write chunks
                          ^                        |
                          +---- partial sums ------+

The driver cuts parameters into tasks (`tasks`), sends a bounded number of them, and merges
the partial sums that come back (`driver`). A task says all that a worker needs: where the bytes
of its own parameters lie, and what of them to walk (`worker`). Workers share the folder of the
store: each writes the chunks of pictures that it makes whole, and pieces of those that it does not
(`shared_store`). `dask` brings a cluster; any other `concurrent.futures.Executor` will do.
"""
