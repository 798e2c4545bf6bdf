"""Vocabulary of what people are: the tagger learns from it, stand-ins are chosen from it."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The parts of a text between its commas."""
    return tuple(" ".join(part.split()) for part in text.split(","))


NATIONALITIES = words("""
Afghan, Albanian, Algerian, American, Angolan, Argentine, Armenian, Australian, Austrian,
Azerbaijani, Bangladeshi, Belarusian, Belgian, Bolivian, Bosnian, Brazilian, British, Bulgarian,
Cambodian, Cameroonian, Canadian, Chilean, Chinese, Colombian, Congolese, Croatian, Cuban,
Cypriot, Czech, Danish, Dominican, Dutch, Ecuadorian, Egyptian, English, Eritrean, Estonian,
Ethiopian, Filipino, Finnish, French, Georgian, German, Ghanaian, Greek, Guatemalan, Haitian,
Honduran, Hungarian, Icelandic, Indian, Indonesian, Iranian, Iraqi, Irish, Israeli, Italian,
Ivorian, Jamaican, Japanese, Jordanian, Kazakh, Kenyan, Kosovar, Kuwaiti, Kyrgyz, Laotian,
Latvian, Lebanese, Liberian, Libyan, Lithuanian, Luxembourg, Macedonian, Malaysian, Maltese,
Mexican, Moldovan, Mongolian, Montenegrin, Moroccan, Nepalese, New Zealand, Nigerian, North
Korean, Northern Irish, Norwegian, Pakistani, Palestinian, Panamanian, Paraguayan, Peruvian,
Polish, Portuguese, Romanian, Russian, Rwandan, Saudi, Scottish, Senegalese, Serbian,
Singaporean, Slovak, Slovenian, Somali, South African, South Korean, Spanish, Sri Lankan,
Sudanese, Swedish, Swiss, Syrian, Taiwanese, Tajik, Tanzanian, Thai, Tunisian, Turkish, Turkmen,
Ugandan, Ukrainian, Uruguayan, Uzbek, Venezuelan, Vietnamese, Welsh, Yemeni, Zambian, Zimbabwean
""")
ETHNICITIES = words("""
Kurdish, Roma, Sinti, Chechen, Ingush, Tamil, Sinhalese, Hutu, Tutsi, Uighur, Tatar, Hmong,
Berber, Arab, Pashtun, Hazara, Jewish, Sami, Maori, Aboriginal, Hispanic, Latino,
African-American, Caucasian, Asian, Yazidi, Assyrian, Armenian, Albanian, Basque, Catalan,
Hausa, Igbo, Yoruba, Zulu, Xhosa, Punjabi, Bengali
""")
RELIGIONS = words("""
Muslim, Catholic, Jewish, Hindu, Buddhist, Sikh, Orthodox, Protestant, Lutheran, Mormon,
Baptist, Christian, Alevi, Sunni, Shia, Methodist, Anglican, Pentecostal, Jehovah's Witness,
Baha'i, Jain
""")
OCCUPATIONS = words("""
lawyer, teacher, nurse, doctor, engineer, accountant, driver, taxi driver, lorry driver, farmer,
journalist, police officer, soldier, student, electrician, plumber, carpenter, mechanic, chef,
cook, waiter, waitress, cashier, clerk, civil servant, judge, prosecutor, mayor, member of
parliament, politician, actor, actress, singer, painter, writer, poet, novelist, footballer,
cyclist, boxer, coach, librarian, architect, dentist, surgeon, psychiatrist, psychologist,
pharmacist, veterinarian, scientist, physicist, chemist, biologist, mathematician, economist,
historian, philosopher, programmer, software engineer, data scientist, designer, photographer,
film director, producer, musician, pianist, violinist, conductor, dancer, businessman,
businesswoman, shopkeeper, salesman, estate agent, banker, consultant, secretary, receptionist,
cleaner, housekeeper, nanny, social worker, priest, imam, rabbi, monk, nun, pilot, flight
attendant, sailor, captain, fisherman, miner, welder, bricklayer, security guard, firefighter,
paramedic, midwife, physiotherapist, apprentice, trainee, intern, pensioner, refugee, asylum
seeker, prisoner, nursing assistant, childminder, bailiff, notary, solicitor, barrister, clerk
of court, magistrate, detective, customs officer, border guard, gendarme, lieutenant, sergeant,
major, general, admiral, ambassador, diplomat, consul, minister, governor, senator, congressman,
trade unionist, activist, human rights defender, editor, editor-in-chief, columnist, news
anchor, publisher, translator, interpreter, tour guide, travel agent, bartender, butler, car
dealer, real estate broker, insurance agent, auditor, tax adviser, stockbroker, investor,
manager, managing director, director, chief executive, chairman, project manager, sales manager,
HR manager, office assistant, data analyst, system administrator, web developer, graphic
designer, fashion model, tennis player, basketball player, goalkeeper, jockey, referee, racing
driver, comedian, composer, sculptor, anthropologist, geologist, astronomer, statistician,
radiologist, cardiologist, paediatrician, GP, optician, dietitian, speech therapist,
kindergarten teacher, maths teacher, school principal, professor, lecturer, researcher,
headmaster, caretaker, gardener, hairdresser, barber, tailor, baker, butcher, bus driver, train
driver, postman, courier, warehouse worker, factory worker, retired colonel
""")
CONDITIONS = words("""
diabetes, type 2 diabetes, asthma, hypertension, depression, major depressive disorder,
schizophrenia, paranoid schizophrenia, bipolar disorder, post-traumatic stress disorder,
epilepsy, hepatitis C, HIV, tuberculosis, breast cancer, lung cancer, prostate cancer,
leukaemia, multiple sclerosis, Parkinson's disease, Alzheimer's disease, chronic kidney disease,
coeliac disease, anorexia, migraine, hepatitis B, cirrhosis, stomach ulcer, a stroke, a heart
attack, angina, pneumonia, bronchitis, COPD, anaemia, thyroid cancer, melanoma, skin cancer, a
brain tumour, dementia, autism, ADHD, Down's syndrome, cerebral palsy, cystic fibrosis, Crohn's
disease, ulcerative colitis, lupus, psoriasis, glaucoma, gout, sciatica, osteoporosis,
endometriosis, obesity, insomnia, an eating disorder, drug addiction, psychosis, panic attacks,
a learning disability, paraplegia, hearing loss, sickle cell disease, haemophilia, malaria, a
personality disorder, an anxiety disorder, alcohol dependence, a heart condition, arthritis
""")
DEM_STATUSES = words("""
married, divorced, single, widowed, unemployed, retired, homeless, pregnant, blind, deaf, gay,
lesbian, transgender, self-employed, disabled, illiterate
""")
MONTHS = words("""
January, February, March, April, May, June, July, August, September, October, November, December
""")
SMALL_NUMBERS = words(
    "two, three, four, five, six, seven, eight, nine, ten, twelve, fifteen, twenty"
)
COUNTRIES = words("""
Argentina, Australia, Austria, Bangladesh, Belgium, Bolivia, Brazil, Bulgaria, Canada, Chile,
China, Colombia, Croatia, Cuba, Cyprus, Denmark, Ecuador, Egypt, Estonia, Ethiopia, Finland,
France, Georgia, Germany, Ghana, Greece, Hungary, Iceland, India, Indonesia, Iran, Iraq,
Ireland, Israel, Italy, Japan, Jordan, Kazakhstan, Kenya, Latvia, Lebanon, Lithuania, Malaysia,
Mexico, Moldova, Morocco, Nepal, Netherlands, New Zealand, Nigeria, Norway, Pakistan, Peru,
Philippines, Poland, Portugal, Romania, Russia, Serbia, Singapore, Slovakia, Slovenia, South
Africa, South Korea, Spain, Sri Lanka, Sweden, Switzerland, Syria, Thailand, Tunisia, Turkey,
Ukraine, United Kingdom, United States, Uruguay, Venezuela, Vietnam
""")
GENERIC_BODIES = words("""
Supreme Court, Constitutional Court, Court of Appeal, High Court, Regional Court, Administrative
Court, Council of State, Court of Cassation, National Assembly, Tax Office, Land Registry,
Pension Fund, Border Guard, Prison Service, Electoral Commission, Central Bank, Medical Council,
Home Office
""")
RANKS = words("""
captain, lieutenant, sergeant, corporal, major, colonel, inspector, superintendent, constable,
commander, lieutenant-colonel, chief inspector, private
""")
FEASTS = words("""
Christmas Eve, Christmas Day, Boxing Day, New Year's Eve, Easter Monday, Good Friday, Whit Monday,
Midsummer Day, All Saints' Day, Epiphany, Ascension Day, Palm Sunday
""")
TIMES_OF_DAY = words("noon, midnight, midday, dawn, dusk")
SEASONS = words("spring, summer, autumn, winter")
DECADES = words("twenties, thirties, forties, fifties, sixties, seventies, eighties, nineties")
ORDINALS = words("""
first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth,
thirteenth, fourteenth, fifteenth, sixteenth, seventeenth, eighteenth, nineteenth, twentieth,
twenty-first, twenty-second, twenty-third, twenty-fourth, twenty-fifth, twenty-sixth,
twenty-seventh, twenty-eighth, twenty-ninth, thirtieth, thirty-first
""")
