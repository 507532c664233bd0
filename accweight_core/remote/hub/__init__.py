"""Files in repositories on the Hugging Face hub, read by ranges at any commit.

`repository` asks the hub's own client for branches, tags and listings, and gives the addresses of
files; `transport` answers for their URLs, through the HTTP transport that all other URLs use.
"""
