"""``shenyu-data receipt verify``."""

from __future__ import annotations

import click
import msgspec

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.model.amounts import counted
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.receipts import read_bounded, verify_receipt_file
from shenyu_data.repository.receipts import Receipt, public_key_fingerprint, public_key_pem

_KEY_BYTES = 1 << 12


@click.group("receipt", context_settings={"help_option_names": ["-h", "--help"]})
def receipt_command() -> None:
    """Verify the receipt of an erasure."""


@receipt_command.command("verify")
@click.argument("file")
@click.option(
    "--public-key", metavar="KEY", help="Whose it must be: a PEM file, or 64 hexadecimal digits."
)
@common
def verify_command(call: Call, file: str, public_key: str | None) -> None:
    """Check that a receipt was not altered, and whose it is.

    FILE is the receipt; its signature lies beside it, FILE.sig. It needs no repository and no
    passphrase. Without --public-key anybody may have made it: then the exit status is 1. With
    --repo instead, it must be of that repository.
    """
    wanted = _wanted(call, public_key)
    receipt = verify_receipt_file(file, wanted)
    fingerprint = public_key_fingerprint(receipt.public_key)
    if wanted is None:
        call.monitor.report(
            Finding(
                code="issuer-not-checked",
                severity="warning",
                path="",
                message=f"whose key {fingerprint} (SHA-256) is was not checked",
                hint="Give --public-key with a key you have from elsewhere than from beside it.",
            )
        )
    call.finish(
        {
            "receipt": msgspec.to_builtins(receipt),
            "public_key_sha256": fingerprint,
            "issuer_checked": wanted is not None,
        },
        _text(receipt, fingerprint),
        findings=wanted is None,
    )


def _wanted(call: Call, public_key: str | None) -> str | None:
    named = call.flags["repo"]
    if public_key is None:
        return public_key_pem(open_for(call).keys) if named else None
    if named:
        raise UsageError("give --public-key or --repo, not both")
    if len(public_key) == 64 and set(public_key.lower()) <= set("0123456789abcdef"):
        return public_key
    return read_bounded(public_key, _KEY_BYTES).decode("ascii", "replace")


def _text(receipt: Receipt, fingerprint: str) -> str:
    live = receipt.live
    lines = [
        "The receipt holds.",
        f"  user      {printable(receipt.user)}",
        f"  erased    at {receipt.erased_at}, completed at {receipt.completed_at}",
        f"  for good  {receipt.erased_for_good_at or 'not known'}",
        f"  live      {counted(live.documents, 'document')}, {live.document_bytes:,} bytes",
        f"  backups   {counted(receipt.backups.snapshots, 'snapshot')}, "
        f"{counted(len(receipt.backups.keys), 'key')} destroyed",
        f"  in        the repository {receipt.repository}",
        f"  signed by {fingerprint} (SHA-256)",
    ]
    if receipt.reason:
        lines.append(f"  reason    {printable(receipt.reason)}")
    if receipt.reservations:
        lines.append(f"  but       {', '.join(item.code for item in receipt.reservations)}")
    return "\n".join(lines)
