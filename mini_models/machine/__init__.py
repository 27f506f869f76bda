"""Machine: what any program on any model needs: devices, processes, files."""
