"""Speed on the user's own machine: block-sparse layers and networks beside dense ones."""
