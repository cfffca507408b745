"""Machines for reviewers: pictures, pages, differences, walks and coverage. Nothing that serves a login loads this room.

    machine -> graph     boxes, frames and arrows, with their sizes
            -> layout    their coordinates: computed by ELK (`tools/layout`) and stored, or in one column
            -> svg       the picture; an `overlay` colours it: `coverage`, `walk_picture`, `difference_picture`

`diagram` writes the folder of all pictures and pages (`svg`, `mermaid`, `markdown_page`, `html_page`). The page for a review
is made of `html_landing`, `html_machine` and `html_proof`; its script plays `player_data`. `difference` compares two
`revisions` by their `equivalence`, `schema` is for editors of machine files.
"""
