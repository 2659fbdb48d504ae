"""What every image is: spec, categories, plan, Dataset.

Pure: no module here starts a process, reads a clock or writes a file, except CSV files on request.
"""
