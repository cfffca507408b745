"""The rules of the house, as plugins for every test run and as tests of their own."""
