"""Single inputs on a page: opened runs -> pictures, masks, costs, logits, prices, blocks seen."""
