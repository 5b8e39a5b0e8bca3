__version__: str
__profile__: str

def simd_level() -> str: ...
