"""Each rule of opening on its own: objects that are right in all but one thing, made with every party's real keys.

They show that no rule leans on another one: a dishonest sender, wrapper or authority is refused at its one lie.
"""

import hashlib
import secrets
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.context import Context, Purpose
from security.encoding import encode
from security.errors import SealBroken
from security.identity import Identity
from security.keys import wrap
from security.sealed_core import CHUNK_BYTES, in_pieces, keys_of
from security.sealed_format import Sealed, core_message, recipients_message, wrap_info
from security.sealing import open_sealed
from tests.unit.security.conftest import NOW, World

CONTEXT = Context(purpose=Purpose.IMAGE, study="leukemia", sender="app", object_id="case-1")
ELSEWHERE = replace(CONTEXT, object_id="case-2")
DEK, OTHER_DEK = bytes(range(32)), bytes(32)
BODY = b"body"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the object is made; the defaults make one that opens."""

    signer: str = "app"
    wrapper: str = "app"
    core: tuple[tuple[str, Any], ...] = ()
    body_context: Context = CONTEXT
    core_context: Context = CONTEXT
    block_context: Context = CONTEXT
    wrap_context: Context = CONTEXT
    body_dek: bytes = DEK
    wrapped_dek: bytes = DEK
    committed_dek: bytes = DEK
    aad: bytes | None = None
    twice: bool = False


def make(world: World, recipe: Recipe) -> bytes:
    signer, wrapper, node = world[recipe.signer], world[recipe.wrapper], world["north.serving"].sealing_certificate
    prefix = secrets.token_bytes(7)
    cipher = AESGCM(keys_of(recipe.body_dek, recipe.body_context)[0])
    body = b"".join(
        cipher.encrypt(nonce, piece, None) for nonce, piece in in_pieces(prefix, memoryview(BODY), CHUNK_BYTES)
    )
    core = encode(
        {
            "ciphertext": hashlib.sha256(body).digest(),
            "commitment": keys_of(recipe.committed_dek, recipe.body_context)[1],
            "context": hashlib.sha256(CONTEXT.encode()).digest(),
            "length": len(BODY),
            "prefix": prefix,
            "sender": "app",
        }
        | dict(recipe.core)
    )
    aad = node.serial.encode() if recipe.aad is None else recipe.aad
    wrapped = wrap(recipe.wrapped_dek, node.public_key, info=wrap_info(core, recipe.wrap_context), aad=aad)
    block = encode([[node.serial, *wrapped]] * (2 if recipe.twice else 1))
    return Sealed(
        core=core,
        sender_certificate=signer.signing_certificate,
        sender_signature=_sign(signer, core_message(core, signer.signing_certificate.der, recipe.core_context)),
        recipients=block,
        wrapper_certificate=wrapper.signing_certificate,
        wrapper_signature=_sign(
            wrapper, recipients_message(block, core, wrapper.signing_certificate.der, recipe.block_context)
        ),
        body=memoryview(body),
    ).join()


def opened(world: World, recipe: Recipe, context: Context = CONTEXT, sender: str = "app") -> bytes:
    return open_sealed(
        make(world, recipe),
        recipient=world["north.serving"],
        trust=world.trust,
        context=context,
        sender=sender,
        at=NOW,
    )


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(wrapper="authority")], ids=["sender", "authority"])
def test_an_object_made_by_the_rules_opens(world: World, recipe: Recipe) -> None:
    assert opened(world, recipe) == BODY


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(signer="north.training"),
        Recipe(wrapper="north.training"),
        Recipe(body_context=ELSEWHERE),
        Recipe(core_context=ELSEWHERE),
        Recipe(block_context=ELSEWHERE),
        Recipe(wrap_context=ELSEWHERE),
        Recipe(body_dek=OTHER_DEK, wrapped_dek=OTHER_DEK),  # a body that is right under a key not committed to
        Recipe(wrapped_dek=OTHER_DEK),
        Recipe(body_dek=OTHER_DEK),
        Recipe(aad=b"another serial"),
        Recipe(twice=True),
        Recipe(core=(("context", hashlib.sha256(ELSEWHERE.encode()).digest()),)),
        Recipe(core=(("sender", "north.training"),)),
        Recipe(core=(("length", len(BODY) + 1),)),
        Recipe(core=(("length", len(BODY) - 1),)),
        Recipe(core=(("length", -1),)),
        Recipe(core=(("length", "4"),)),
        Recipe(core=(("length", 4.0),)),
        Recipe(core=(("prefix", bytes(6)),)),
        Recipe(core=(("ciphertext", bytes(32)),)),
        Recipe(core=(("commitment", bytes(31)),)),
        Recipe(core=(("commitment", None),)),
        Recipe(core=(("something", "more"),)),
    ],
    ids=lambda recipe: ",".join(f.name for f in fields(recipe) if getattr(recipe, f.name) != f.default),
)
def test_an_object_with_one_lie_does_not_open(world: World, recipe: Recipe) -> None:
    with pytest.raises(SealBroken):
        opened(world, recipe)


def test_the_expected_sender_must_be_the_one_in_the_context(world: World) -> None:
    with pytest.raises(SealBroken):
        opened(world, Recipe(), sender="authority")
    with pytest.raises(SealBroken):
        opened(world, Recipe(), context=replace(CONTEXT, sender="authority"))
    theirs = replace(CONTEXT, sender="aggregation")
    stated = (("context", hashlib.sha256(theirs.encode()).digest()),)
    lie = Recipe(core=stated, core_context=theirs, block_context=theirs, wrap_context=theirs, body_context=theirs)
    with pytest.raises(SealBroken):
        opened(world, lie, context=theirs)


def _sign(identity: Identity, message: bytes) -> bytes:
    return identity.signing_key.sign(message)
