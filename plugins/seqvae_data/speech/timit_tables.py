"""What is published about TIMIT: its phones and their folding, and its lists of speakers."""

__all__ = ["CORE_TEST", "DEVELOPMENT", "PHONES", "folding"]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Lamel, Kassel, Seneff 1986; the corpus' own table is DOC/PHONCODE.DOC.
PHONES = _listed(
    "b d g p t k dx q bcl dcl gcl pcl tcl kcl jh ch s sh z zh f th v dh m n ng em en eng nx "
    "l r w y hh hv el iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h "
    "pau epi h#"
)

# Lee and Hon 1989, "Speaker-independent phone recognition using hidden Markov models", table I:
# what is written in the first word stands for the others. The glottal stop is dropped.
_TO_48 = (
    "ax ax-h", "er axr", "uw ux", "hh hv", "m em", "n nx", "ng eng",
    "cl pcl tcl kcl", "vcl bcl dcl gcl", "sil h# pau",
)  # fmt: skip
_TO_39 = ("sil cl vcl epi", "aa ao", "ah ax", "ih ix", "l el", "n en", "sh zh")

# The core test set of the corpus (its TESTSET.DOC): two men and a woman of each dialect region.
CORE_TEST = frozenset(
    _listed(
        "MDAB0 MWBT0 FELC0 MTAS1 MWEW0 FPAS0 MJMP0 MLNT0 FPKT0 MLLL0 MTLS0 FJLM0 "
        "MBPM0 MKLT0 FNLP0 MCMJ0 MJDH0 FMGD0 MGRT0 MNJM0 FDHC0 MJLN0 MPAM0 FMLD0"
    )
)

# The development set of Halberstadt 1998 (thesis, MIT), as in Kaldi's recipe (conf/dev_spk.list).
DEVELOPMENT = frozenset(
    _listed(
        "FAKS0 FDAC1 FJEM0 MGWT0 MJAR0 MMDB1 MMDM2 MPDF0 FCMH0 FKMS0 MBDG0 MBWM0 MCSH0 "
        "FADG0 FDMS0 FEDW0 MGJF0 MGLB0 MRTK0 MTAA0 MTDT0 MTHC0 MWJG0 FNMR0 FREW0 FSEM0 "
        "MBNS0 MMJR0 MDLS0 MDLF0 MDVC0 MERS0 FMAH0 FDRW0 MRCS0 MRJM4 FCAL1 MMWH0 FJSJ0 "
        "MAJC0 MJSW0 MREB0 FGJD0 FJMG0 MROA0 MTEB0 MJFC0 MRJR0 FMML0 MRWS1"
    )
)


def folding(phones: int) -> dict[str, str]:
    """Return what each of the 61 phones is called among 61, 48 or 39; "" for what is dropped."""
    table = {phone: phone for phone in PHONES}
    steps = {61: (), 48: (_TO_48,), 39: (_TO_48, _TO_39)}[phones]
    for groups in steps:
        renamed = {old: group.split()[0] for group in groups for old in group.split()[1:]}
        table = {phone: renamed.get(name, name) for phone, name in table.items()}
    return table if phones == 61 else {**table, "q": ""}
