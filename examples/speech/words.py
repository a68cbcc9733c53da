"""The words that are spoken: digits, which are told apart, and others, which are all one class."""

#: By language, how its digits 0 to 9 are written. Where one has two names, both count.
DIGITS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "es": ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"],
    "fr": ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"],
    "it": ["zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"],
    "ru": ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"],
}

#: Letters, days and months.
OTHERS = {
    "en": (
        "a b c d e f g h i j k l m n o p q r s t u v w x y z monday tuesday wednesday thursday friday saturday sunday "
        "january february march april may june july august september october november december"
    ).split(),
    "es": (
        "a b c d e f g h i j k l m n o p q r s t u v w x y z lunes martes miércoles jueves viernes sábado domingo "
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
    ).split(),
    "fr": (
        "a b c d e f g h i j k l m n o p q r s t u v w x y z lundi mardi mercredi jeudi vendredi samedi dimanche "
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
    ).split(),
    "it": (
        "a b c d e f g h i j k l m n o p q r s t u v w x y z lunedì martedì mercoledì giovedì venerdì sabato domenica "
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"
    ).split(),
    "ru": (
        "а б в г д е ж з и к л м н о п р с т у ф х ц ч ш щ э ю я понедельник вторник среда четверг пятница суббота "
        "воскресенье январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь"
    ).split(),
}

NAMES = [*map(str, range(10)), "other"]  # of the classes
OTHER = 10
