"""Files in local git repositories, read through the object store at any commit.

`places` finds the repository in a source such as ``git:run@v1:model.pt``, `repository` asks dulwich
for references, trees and objects, `contents` keeps the objects that are read, and `transport`
answers for their URLs. Nothing is checked out, and the working tree is never looked at.
"""
