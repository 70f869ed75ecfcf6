"""Speech: folders of audio files, TIMIT, spectra and what makes them heard again."""
