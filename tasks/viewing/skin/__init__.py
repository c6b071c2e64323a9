"""The skin of a hand: smooth meshes made from what its links collide as, of any hand."""

from tasks.viewing.skin.skin import SkinPart, hand_skin

__all__ = ["SkinPart", "hand_skin"]
