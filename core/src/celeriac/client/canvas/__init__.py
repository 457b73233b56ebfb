"""Workflows: calls composed of calls.

`chain` runs one after the other, `group` side by side, `chord` a group and then, with all its results, a body. They
are signatures like any other: data that can be sent, stored, changed and composed further with `|`.

    workflows, mapping   what there is: signatures made of signatures
    composing            what `|` makes of two of them
    planning             from a signature to the messages that can be published now
    publishing           sending them
    replacing            a run that hands over to a workflow
    signing, tasks       what tasks have to do with it, and the tasks that every app has
"""
