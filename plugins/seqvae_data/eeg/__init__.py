"""EEG and physiology."""
