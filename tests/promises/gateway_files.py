"""The gateway's files (the numbers are those of the abuse cases of gateway-contract §4.3)."""

_A = "gateway-contract §4.3"
_C = "gateway-contract §2.7"

PROMISES: list[tuple[str, ...]] = [
    (
        "gateway-files.round_trip",
        _C,
        "Outputs, temporary files and inputs go in and come out by the documented endpoints, under the seed's s3:// URLs.",
    ),
    ("gateway-files.41", f"{_A} #40-41", "A file of another user is 403, a deleted one 404, what is no URL of a file 422."),
    ("gateway-files.69", f"{_A} #69", "Names are cleaned and shown; keys are the server's."),
    ("gateway-files.70-71", f"{_A} #70-71", "Sessions and times that are none are 422."),
    ("gateway-files.72-73", f"{_A} #72-73", "An empty file is a file; a form without one, with two, or with too much in it is refused."),
    ("gateway-files.74", f"{_A} #74", "A signed URL is for one method, one key and a time; anything else is 403."),
    ("gateway-files.75-77", f"{_A} #75-77", "An upload URL takes one file, of the signed type, within the size; the second is 409."),
    ("gateway-files.78-79", f"{_A} #78-79", "Limits and times are bounded; a continuation token is good for its own list only."),
    ("gateway-files.80", f"{_A} #80", "Cleaning up deletes exactly the session that is named."),
    ("gateway-files.81", f"{_A} #81", "A file whose time is over is 404 and listed no more at once; the sweeper deletes its bytes."),
    ("gateway-files.82", f"{_A} #82", "A download is an attachment with nosniff and a sandboxing policy."),
    ("gateway-files.83", f"{_A} #83", "Ranges, HEAD and conditions are answered; an upload that breaks off leaves nothing."),
    ("gateway-files.quota", "issue 5 §2", "A tenant's files together stay within its bytes, however many are uploaded at once."),
    ("gateway-files.flat", "issue 5 §2", "Uploads and downloads take constant memory."),
    ("gateway-files.kill", "issue 5 §4", "A server that is killed during an upload shows no half file, and its space comes back."),
]
