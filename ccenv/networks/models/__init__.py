"""Networks of the table, and the stages that they are made of."""
