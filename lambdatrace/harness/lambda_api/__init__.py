"""The Lambda API beside Invoke: the operations that make, change and describe functions."""
