"""A wearable that finds abnormal heartbeats: patients learn together, in few bytes, for a Cortex-M4."""
