"""Plain PyTorch: no ComfyUI, no globals, no prints."""
