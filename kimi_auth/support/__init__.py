"""What knows nothing of tokens: text, languages, URLs, the browser, child processes, event loops, differences between systems."""
