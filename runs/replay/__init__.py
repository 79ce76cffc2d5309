"""Finished runs again: opened from their folders, walked, replayed, and their claims checked."""
