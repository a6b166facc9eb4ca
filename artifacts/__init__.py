"""What a build is made of: a class for each behaviour, and a catalogue that is data."""
