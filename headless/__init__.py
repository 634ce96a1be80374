"""Runs workflows without ComfyUI: reads a graph, checks it, executes it in the terminal."""
