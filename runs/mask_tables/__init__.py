"""Tables of all masks: their settings, built, timed, shown, and ranked entries."""
