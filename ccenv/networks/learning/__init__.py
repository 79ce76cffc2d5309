"""How weights come about: frozen, co-trained, distilled, or shipped."""
