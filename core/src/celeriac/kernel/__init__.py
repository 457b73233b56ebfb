"""The kernel: steps, the boot graph, plugin discovery. It does not know what a task is."""
