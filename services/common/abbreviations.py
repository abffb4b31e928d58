"""Tables of written forms that are not read as they are written."""

from __future__ import annotations

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# With their full stop; lower case. They do not end a sentence.
ABBREVIATIONS: Final[dict[str, str]] = {
    "mr.": "mister", "mrs.": "missus", "ms.": "miz", "messrs.": "messieurs", "dr.": "doctor", "prof.": "professor",
    "sr.": "senior", "jr.": "junior", "rev.": "reverend", "hon.": "honorable", "gov.": "governor",
    "sen.": "senator", "rep.": "representative", "pres.": "president", "gen.": "general", "col.": "colonel",
    "capt.": "captain", "cpt.": "captain", "lt.": "lieutenant", "maj.": "major", "sgt.": "sergeant",
    "cmdr.": "commander", "adm.": "admiral", "supt.": "superintendent", "det.": "detective",
    "st.": "saint", "mt.": "mount", "ft.": "fort", "ave.": "avenue", "blvd.": "boulevard", "rd.": "road",
    "hwy.": "highway", "apt.": "apartment", "dept.": "department", "univ.": "university", "assn.": "association",
    "inc.": "incorporated", "ltd.": "limited", "co.": "company", "corp.": "corporation", "bros.": "brothers",
    "vs.": "versus", "v.": "versus", "etc.": "et cetera", "e.g.": "for example", "i.e.": "that is",
    "cf.": "compare", "al.": "al", "approx.": "approximately", "est.": "established", "min.": "minimum",
    "max.": "maximum", "misc.": "miscellaneous", "incl.": "including", "excl.": "excluding", "esp.": "especially",
    "no.": "number", "nos.": "numbers", "fig.": "figure", "figs.": "figures", "vol.": "volume", "ch.": "chapter",
    "sec.": "section", "ed.": "edition", "eds.": "editors", "p.": "page", "pp.": "pages", "tel.": "telephone",
    "ext.": "extension", "a.m.": "a. m.", "p.m.": "p. m.", "a.d.": "a. d.", "b.c.": "b. c.", "ph.d.": "p. h. d.",
    "m.d.": "m. d.", "b.a.": "b. a.", "m.a.": "m. a.", "p.s.": "p. s.", "r.s.v.p.": "r. s. v. p.",
    "jan.": "january", "feb.": "february", "mar.": "march", "apr.": "april", "jun.": "june", "jul.": "july",
    "aug.": "august", "sep.": "september", "sept.": "september", "oct.": "october", "nov.": "november",
    "dec.": "december", "mon.": "monday", "tue.": "tuesday", "tues.": "tuesday", "wed.": "wednesday",
    "thu.": "thursday", "thur.": "thursday", "thurs.": "thursday", "fri.": "friday", "sat.": "saturday",
    "sun.": "sunday",
}  # fmt: skip

# Words as well as abbreviations: only read as the latter where something fitting follows.
BEFORE_DIGIT_ONLY: Final = frozenset(
    {"no.", "nos.", "p.", "pp.", "fig.", "figs.", "vol.", "ch.", "sec.", "ext.", "ed.", "min.", "max.", "mar.", "est."}
)
BEFORE_CAPITAL_OR_DIGIT_ONLY: Final = frozenset({"sun.", "sat.", "wed.", "v.", "gen.", "det.", "rep.", "pres.", "al."})
# A capital letter after these begins a new sentence.
MAY_END_SENTENCE: Final = frozenset(
    {"a.m.", "p.m.", "etc.", "inc.", "ltd.", "co.", "corp.", "jr.", "sr.", "a.d.", "b.c.", "ph.d.", "m.d.", "al."}
)

MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)

# Unit -> its name for one, its name for several.
UNITS: Final[dict[str, tuple[str, str]]] = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "µm": ("micrometer", "micrometers"), "nm": ("nanometer", "nanometers"),
    "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"),
    "l": ("liter", "liters"), "L": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"), "gal": ("gallon", "gallons"),
    "s": ("second", "seconds"), "ms": ("millisecond", "milliseconds"), "min": ("minute", "minutes"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "sec": ("second", "seconds"),
    "mph": ("mile per hour", "miles per hour"), "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"), "m/s": ("meter per second", "meters per second"),
    "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"), "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"), "Mbps": ("megabit per second",
    "megabits per second"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"), "MW": ("megawatt", "megawatts"), "kWh": ("kilowatt hour", "kilowatt hours"),
    "V": ("volt", "volts"), "mV": ("millivolt", "millivolts"), "A": ("ampere", "amperes"), "mA": ("milliampere",
    "milliamperes"), "dB": ("decibel", "decibels"), "Pa": ("pascal", "pascals"), "N": ("newton", "newtons"),
    "°C": ("degree celsius", "degrees celsius"), "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"), "%": ("percent", "percent"), "‰": ("per mille", "per mille"),
    "m²": ("square meter", "square meters"), "km²": ("square kilometer", "square kilometers"),
    "m³": ("cubic meter", "cubic meters"), "sq ft": ("square foot", "square feet"),
    "tsp": ("teaspoon", "teaspoons"), "tbsp": ("tablespoon", "tablespoons"),
}  # fmt: skip

# Sign -> unit for one, for several; subunit for one, for several.
CURRENCIES: Final[dict[str, tuple[str, str, str, str]]] = {
    "$": ("dollar", "dollars", "cent", "cents"), "US$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"), "₹": ("rupee", "rupees", "paisa", "paise"),
}  # fmt: skip
MAGNITUDES: Final[dict[str, str]] = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "bn": "billion", "B": "billion", "b": "billion",
    "tn": "trillion", "T": "trillion", "thousand": "thousand", "million": "million", "billion": "billion",
    "trillion": "trillion", "hundred": "hundred",
}  # fmt: skip

SIGNS: Final[dict[str, str]] = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "×": "times", "÷": "divided by",
    "±": "plus or minus", "<": "less than", ">": "greater than", "≤": "at most", "≥": "at least", "≈": "about",
    "°": "degrees", "©": "copyright", "™": "trademark", "$": "dollars", "€": "euros", "£": "pounds", "#": "number",
    "~": "about",
}  # fmt: skip
VULGAR_FRACTIONS: Final[dict[str, tuple[str, str]]] = {
    "½": ("1", "2"), "⅓": ("1", "3"), "⅔": ("2", "3"), "¼": ("1", "4"), "¾": ("3", "4"), "⅕": ("1", "5"),
    "⅛": ("1", "8"), "⅜": ("3", "8"), "⅝": ("5", "8"), "⅞": ("7", "8"),
}  # fmt: skip

# Capitals that are read as a word, although their letters are initials.
WORD_ACRONYMS: Final = _set(
    "AIDS ASAP ASCII AWOL COVID DARPA FAQ FEMA FIFA GIF HIPAA IKEA LASER MIDI NAFTA NASA NASDAQ NATO NAVY OPEC OSHA "
    "PIN RADAR RAM ROM SCUBA SIM SONAR SWAT TOEFL UNESCO UNICEF YOLO ZIP JPEG MODEM NIMBY"
)
# Dictionary words of two or three letters which, in capitals, are meant as words all the same.
SHORT_WORDS: Final = _set(
    "A I AM AN AS AT BE BY DO GO HE IF IN IS ME MY NO OF ON OR SO TO UP WE ALL AND ANY ARE ASK BAD BIG BUT BUY CAN DAY "
    "DID DOG END FAR FOR GET GOD HAD HAS HER HIM HIS HOT HOW ITS JOB LET MAN MAY NEW NOT NOW OFF OLD ONE OUR OUT OWN "
    "PUT RED RUN SAY SEE SHE THE TOO TOP TRY TWO USE WAR WAS WAY WHO WHY WIN YES YET YOU OH HEY WOW HA AH"
)
ROMAN_AS_CARDINAL_AFTER: Final = _set(
    "chapter part volume act scene section book war phase type class appendix bowl level grade version final fantasy "
    "rocky mark tier"
)
ROMAN_AS_ORDINAL_AFTER: Final = _set(
    "henry elizabeth louis charles george edward william james john paul pius benedict richard philip napoleon "
    "nicholas catherine alexander peter frederick francis leo pope king queen emperor olympiad"
)
