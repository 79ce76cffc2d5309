"""The lab: measures, attacks, records and documents ccenv; it is not in the wheel.

`python -m ccenv.runs.lab` lists what it does. Nothing outside this folder imports it.
"""
