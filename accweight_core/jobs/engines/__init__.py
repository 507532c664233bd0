"""Engines: workers that walk the blocks of a run, instead of threads of this process.

The workers belong to an executor, on this machine or on many:

    pipeline -> Work -> Driver --- tasks ---> workers: read, walk, draw, write chunks
                          ^                        |
                          +---- partial sums ------+

The driver cuts parameters into tasks (`tasks`), submits a bounded number of them, and merges the
partial sums that come back (`driver`). A task contains all that a worker needs: the byte ranges of
its parameters, and which blocks to walk (`worker`). Workers share the folder of the store: each
writes the chunks of pictures that lie within its task, and pieces of all other chunks
(`shared_store`). `dask` starts a cluster; any other `concurrent.futures.Executor` works as well.
"""
