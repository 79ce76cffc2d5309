"""The programs behind `ccenv COMMAND`: a file each, and the table of their names."""
