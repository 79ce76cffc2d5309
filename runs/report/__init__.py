"""The page of a comparison: tables and figures of any sweep, and what its study adds."""
