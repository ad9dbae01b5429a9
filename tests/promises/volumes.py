"""Volumes, secrets of sandboxes, and what nobody gets through the public doors."""

PROMISES = [
    ("volumes.life", "sandbox-protocol §1.3", "Volumes are made, listed, renamed and deleted by their owner; to others they are not there."),
    ("volumes.used", "issue 4 §1", "Several sandboxes have a volume at once; it outlives them, and is not deleted while one has it."),
    ("volumes.content", "sandbox-protocol §1.3", "What lies in a volume is read and written with its own token, whole or not at all."),
    ("volumes.memory", "issue 4 §1", "Files of volumes go up and down in constant memory."),
    ("volumes.inside", "issue 4 §7", "No path and no link leads out of a volume, whoever made it."),
    ("volumes.owners", "issue 4 §1", "Files have the owners that sandboxes see, whoever wrote them, and never the host's root."),
    ("volumes.quotas", "issue 4 §1", "A volume holds its quota and no more, whoever writes; beyond it is 507, and what cannot be promised is refused when it is made."),
    ("volumes.attached", "issue 4 §1", "A sandbox that is there is given a volume and loses it, and has it when it is started anew."),
    ("volumes.refused", "issue 4 §1", "Other quotas than a volume was made with are 501 and why; paths that cannot be had are 400."),
    ("secrets.shapes", "sandbox-protocol §1.3", "Secrets are kept and described in both vendors' shapes, by the header `publisher`."),
    ("secrets.bound", "issue 4 §1", "A secret's value reaches exactly the sandboxes that it is bound to, as an environment variable."),
    ("secrets.sealed", "issue 4 §1", "Values of secrets and variables lie nowhere in the data directory as they are, and in no answer, log or argument."),
    ("secrets.rotated", "issue 4 §1", "Secrets and variables of sandboxes move to a new master key with `secrets rotate`; the old one is not needed then."),
    ("sandboxes.old-client", "issue 4, proof", "The e2b client 2.50, which uses the first version of the paths, works."),
    ("sandboxes.strangers", "issue 4 §7", "With another owner's key, a sandbox is 404 at every path of the control plane and closed at the ingress."),
    ("sandboxes.walled", "issue 4 §7", "From inside, neither the control plane, nor another sandbox's guest, nor the host's files are reached."),
    ("sandboxes.links", "issue 4 §7", "Links of a user lead the guest, which is root, to nothing that the user may not read or write."),
    ("sandboxes.signatures", "issue 4 §7", "Signed addresses that are forged, of another path or user, or out of date are refused."),
    ("sandboxes.large-upload", "issue 4 §8", "2 GB go up through the ingress in constant memory."),
]  # fmt: skip
