//! Rule files: reading, watching, settling, and the running generation.
