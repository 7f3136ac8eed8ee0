"""The LEAP paper's tables: runs with a user's data, and the paper's scores beside them."""
