"""Texts for comparing and timing language models: names of cities, and sentences about them.

Short names, long names, accents, other scripts, punctuation, numbers and sentences of up to 60 words, so that
tokenisers meet most of what they do. Only the standard library, since peers import it too.
"""

NAMES = (
    "Lagos", "Porto Alegre", "São Paulo", "Zürich", "Łódź", "Kraków", "Đà Nẵng", "Hà Nội", "İzmir", "Reykjavík",
    "Saint-Denis", "L'Aquila", "N'Djamena", "Xi'an", "Ürümqi", "Bogotá", "Santiago de Querétaro", "San José",
    "Córdoba", "Ciudad Juárez", "Villa Canales", "Thiruvananthapuram", "Visakhapatnam", "Ahmedabad", "Kharagpur",
    "Dhanbad", "Antananarivo", "Ouagadougou", "Nouakchott", "Bobo-Dioulasso", "Dar es Salaam", "Addis Ababa",
    "Port Harcourt", "Krung Thep", "Nakhon Ratchasima", "Yogyakarta", "Banjarmasin", "Kota Kinabalu", "Quezon City",
    "Cagayan de Oro", "Ulan-Ude", "Yekaterinburg", "Nizhny Novgorod", "Rostov-on-Don", "Saint Petersburg",
    "Kryvyi Rih", "Dnipro", "Tbilisi", "Москва", "Αθήνα", "القاهرة", "東京", "北京市", "서울", "กรุงเทพ", "मुंबई",
    "Stoke-on-Trent", "Kingston upon Hull", "Newcastle upon Tyne", "St. John's", "Coeur d'Alene", "Winston-Salem",
    "Truth or Consequences", "Twentynine Palms",
)  # fmt: skip
FORMS = (
    "{0}",
    "The city of {0} lies {1} km from the sea and has {2} inhabitants.",
    "Where is {0}? It's said (by some) that nobody knows; others point at a map of {3}, drawn in 18{1}.",
    "{0}, founded in 1{1}0, traded grain, timber and salt with {3} until the railway came; after the war its "
    "factories closed one after another, and when the last one, a maker of e-mail-like pneumatic tubes named \"Aéro & "
    "Cie.\", went bankrupt with debts of $3,141,592.65, the people who stayed began to grow roses.",
)  # fmt: skip


def texts(count: int = 256) -> list[str]:
    """Give `count` texts; the first 64 are names alone."""
    names = len(NAMES)
    return [
        FORMS[i // names % len(FORMS)].format(NAMES[i % names], 10 + i * 37 % 89, 1000 + i * 7919, NAMES[i * 5 % names])
        for i in range(count)
    ]
