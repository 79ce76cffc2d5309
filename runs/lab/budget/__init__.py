"""Networks of many gates under a budget: a menu of good masks, and policies that choose from it."""
