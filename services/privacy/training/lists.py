"""Word lists of the generator that no package has: bodies, things, streets."""

from __future__ import annotations

from ..vocabulary import words as _words

DEM_AGES = _words("""
young, middle-aged, elderly, teenage, adult, minor
""")
MINISTRIES = _words("""
Ministry of Justice, Ministry of Foreign Affairs, Ministry of the Interior, Ministry of Defence,
Ministry of Finance, Ministry of Health, Ministry of Education, Foreign Office, Home Office,
Federal Ministry of Justice, Department of Justice, Treasury, Attorney General's Office, State
Bar
""")
BODIES = _words("""
Supreme Court, Constitutional Court, Court of Cassation, Supreme Administrative Court, Court of
Appeal, Council of State, High Court, Federal Court, Military Court, State Security Court,
Labour Court, Prosecutor General's Office, Public Prosecutor's Office, Chief Public Prosecutor,
Security Directorate, Regional Directorate of Security, General Staff, Parliament, National
Assembly, State Duma, Senate, Social Insurance Office, Social Security Fund, Pension Fund, Tax
Inspectorate, Customs Office, Migration Board, Aliens Office, Asylum Tribunal, Immigration
Appeal Tribunal, Parole Board, Prison Service, Prison Administration, Police Complaints
Authority, Metropolitan Police, Federal Police, Border Guard, National Security Service, Federal
Security Service, Election Commission, Central Bank, Land Registry, Bar Association, Medical
Association, Chamber of Commerce, Trade Union Confederation, Football Association, Orthodox
Church, Catholic Church, Red Crescent, Human Rights Association, Helsinki Committee, Committee
for the Prevention of Torture, Kurdistan Workers' Party, PKK, ETA, IRA, Hizbullah, TÜSİAD,
{city} Human Rights Association, {city} Chamber of Commerce, {city} Regional Directorate of
Security, {city} Administrative Tribunal, {city} Planning Office, {city} Child Welfare Board,
{city} Health Board, {city} Lawyers' Association, {nationality} Football Federation,
{nationality} Medical Council, {city} Parish Council, {nationality} Red Cross, {last} Committee,
{city} Housing Association
""")
PARTIES = _words("""
Communist Party, Social Democratic Party, Liberal Party, Labour Party, Conservative Party, Green
Party, Workers' Party, People's Democratic Party, Democratic Society Party, Republican Party,
Democratic Party, Christian Democrats, Party of Regions, United Left, National Front
""")
KNOWN_ORGS = _words("""
Amazon, Google, Microsoft, Apple, Facebook, Twitter, Netflix, Uber, Lyft, Airbnb, Tesla, Toyota,
Honda, Ford, BMW, Volkswagen, Siemens, Bosch, Samsung, Sony, LG, Nokia, Huawei, Xiaomi, IBM,
Intel, Oracle, SAP, Cisco, Dell, HP, Walmart, Target, Costco, IKEA, Tesco, Sainsbury's, Aldi,
Lidl, Carrefour, Starbucks, McDonald's, KFC, Subway, Nike, Adidas, Puma, Zara, H&M, Gucci, DHL,
FedEx, UPS, Royal Mail, USPS, Hermes, Flipkart, Myntra, Swiggy, Zomato, Paytm, Airtel, Jio,
Vodafone, Verizon, AT&T, T-Mobile, Comcast, Sky, British Airways, Lufthansa, Emirates, Ryanair,
Delta, United Airlines, Air India, IndiGo, Qantas, Boeing, Airbus, Shell, BP, Exxon, Total,
Gazprom, Unilever, Nestle, Pfizer, Bayer, Novartis, Roche, Red Cross, UNICEF, Greenpeace,
Amnesty International, United Nations, European Union, NATO, WHO, IMF, World Bank, FBI, CIA,
NASA, NHS, FIFA, UEFA, NFL, NBA, MLB, Manchester United, Arsenal, Chelsea, Liverpool FC, Real
Madrid, Barcelona, Juventus, Bayern Munich, Lakers, Yankees, Red Sox, Cowboys, Packers, Harvard,
Yale, Oxford, Cambridge, MIT, Stanford, Congress, Senate, Parliament, Labour, Tories, GOP
""")
KNOWN_MEDIA = _words("""
BBC, CNN, Reuters, The Guardian, The Times, Le Monde, Der Spiegel, El Pais, La Repubblica,
Hürriyet, Kommersant, Izvestia, The Washington Post, New York Times, Daily Mail, The Sun, Fox
News, Al Jazeera, Times of India, The Hindu, Gazeta Wyborcza, Blic, Dnevnik, Cumhuriyet, NRC
Handelsblad, De Telegraaf
""")
KNOWN_BANKS = _words("""
Barclays, HSBC, Lloyds, NatWest, Santander, Monzo, Revolut, Chase, Wells Fargo, Citibank, Bank
of America, Deutsche Bank, Commerzbank, BNP Paribas, ING, Sberbank, HDFC Bank, ICICI Bank, State
Bank of India, Axis Bank, Capital One, American Express, UBS, Credit Suisse
""")
COURTS = _words("""
{city} District Court, {city} Regional Court, {city} City Court, {city} County Court, {city}
Court of Appeal, {city} Court of First Instance, {city} Administrative Court, {city} Assize
Court, {city} State Security Court, {city} Magistrates' Court, {city} Crown Court, {city} High
Court, {city} Criminal Court, {city} Labour Court, {city} Tribunal, Court of Appeal of {city},
District Court of {city}, {city} tribunal de grande instance, {city} Military Court, {city}
Court of Cassation, {nationality} Supreme Court, Supreme Court of {country}, {nationality}
Constitutional Court, High Court of {state}, {state} Supreme Court, {city} Juvenile Court,
United States District Court for the District of {state}
""")
AGENCIES = _words("""
{city} police, {city} Police Department, {city} police station, {city} Security Directorate,
{city} Prosecutor's Office, {city} public prosecutor's office, {city} Social Security Office,
{city} Tax Office, {city} City Council, {city} Municipality, {city} Bar Association, {city} Land
Registry, {nationality} Army, {city} Department of the Interior, {city} Social Services, {city}
Youth Office, {city} Immigration Office, {nationality} Embassy, {nationality} Intelligence
Service, {city} Fire Brigade, {city} Sheriff's Office
""")
SCHOOLS = _words("""
University of {city}, {city} University, {city} Medical School, {city} High School, {last}
University, {city} Institute of Technology, {city} Technical College, {last} College, St
{first}'s School, {city} Academy of Sciences, {last} Elementary School, Technical University of
{city}, {state} State University
""")
HOSPITALS = _words("""
{city} General Hospital, {city} Hospital, St {first}'s Hospital, {last} Clinic, {city}
University Hospital, {city} Psychiatric Hospital, {city} Medical Center, {last} Memorial
Hospital, {city} State Hospital, {city} Forensic Medicine Institute, Mount {last} Medical Center
""")
PRISONS = _words("""
{city} Prison, {city} prison, {city} Remand Prison, {city} remand centre, {city} Correctional
Facility, {city} detention centre, HMP {city}, {city} Penitentiary, {city} State Prison
""")
COMPANIES = _words("""
{last} Ltd, {last} Ltd., {last} Inc, {last} Inc., {last} LLC, {last} GmbH, {last} AG, {last}
S.A., {last} SA, {last} and Sons, {last} & {last}, {last} & Co., {last}-{last}, {last} Group,
{last} Holdings, {last} Partners, {last} & {last} LLP, {city} {thing}, {last} {thing},
{nationality} {thing}, {thing} {city}, {invented}, {invented} {thing}, {invented} Inc,
{invented} Ltd, {last} {thing} Ltd, {acronym}, {acronym} {thing}, {last} Foundation, {city} FC,
FC {city}, {city} United, {first}'s {place}, The {last} {place}, {last} Brothers, {last}
Corporation, {last} Corp, {invented} Technologies, {invented} Systems, {last} Industries d.o.o.
""")
THINGS = _words("""
Airlines, Airways, Bank, Insurance, Motors, Energy, Telecom, Media, Press, Records, Pictures,
Studios, Pharmaceuticals, Logistics, Foods, Steel, Mining, Electric, Software, Solutions,
Services, Consulting, Capital, Investments, Properties, Construction, Textiles, Chemicals,
Railways, Shipping, Post, Gas, Water, Union, Association, Federation, Society, Trust, Council,
Committee, Museum, Theatre, Library, Orchestra, Football Club, Rugby Club, Times, Herald,
Tribune, News, Radio, Airport, Station
""")
PLACES_OF_TRADE = _words("""
Café, Bakery, Bar, Restaurant, Pizzeria, Garage, Gym, Pharmacy, Hotel, Inn, Bistro, Salon,
Bookshop, Grill, Pub, Market, Diner, Store, Shop, Deli
""")
PRODUCTS = _words("""
Galaxy S21, iPhone 13, iPad Pro, MacBook Air, Kindle Paperwhite, PlayStation 5, Xbox Series X,
Fire TV Stick, Echo Dot, AirPods Pro, ThinkPad X1, Pixel 7, Roomba, Instant Pot, NutriBullet,
Switch, Surface Pro, GoPro, OnePlus 9, Redmi Note 10, Windows 11, Call of Duty, Minecraft, Harry
Potter, Model S, Corolla, Civic, Dyson V8
""")
RELATIVES = _words("""
wife, husband, mother, father, son, daughter, brother, sister, cousin, uncle, aunt, grandmother,
grandfather, mum, dad, girlfriend, boyfriend, partner, fiancé, nephew, niece, friend, roommate,
neighbour, boss, colleague
""")
WEEKDAYS = _words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
CURRENCIES = _words("""
euros, dollars, pounds, Turkish liras, zlotys, roubles, forints, US dollars, German marks, Swiss
francs, Italian lire, kronor, rupees, Romanian lei, hryvnias, denars, pounds sterling
""")
STREET_KINDS = _words("""
Street, St, St., Road, Rd, Avenue, Ave, Lane, Drive, Boulevard, Blvd, Court, Place, Square,
Terrace, Close, Crescent, Way, Parkway, Hill, Gardens, Grove, Nagar, Marg, Row, Walk, Mews
""")
STREETS_ABROAD = _words("""
Rue {last}, rue de {city}, Avenue de {city}, Via {last}, Via {first} {last}, Calle {last}, Calle
de {city}, Avenida {last}, Rua {last}, {last}straße, {last}strasse, {last}weg, {last}allee,
{last}platz, {last}straat, {last}laan, {last}gatan, {last}vej, ul. {last}, {last} ulica, ulitsa
{last}, {last} Caddesi, {last} Sokak, {last} utca, Strada {last}, Plaza {last}, {last}gasse,
{last}kade, Prospekt {last}, Praça {last}
""")
INTERNET_WORDS = _words("""
cool, star, blue, red, dark, light, pixel, ninja, wolf, tiger, panda, cat, dog, fox, night, sky,
moon, sun, king, queen, lord, gamer, runner, rider, coder, tech, music, rock, punk, disco,
lucky, happy, sad, crazy
""")
BIG_CITIES = _words("""
New York, New York City, Los Angeles, San Francisco, San Diego, Las Vegas, New Orleans, Long
Beach, Salt Lake City, St. Louis, New Delhi, New Jersey, Washington, Washington DC, Boston,
Chicago, Houston, Dallas, Miami, Atlanta, Seattle, Detroit, Phoenix, Philadelphia, London,
Paris, Berlin, Rome, Madrid, Moscow, Istanbul, Ankara, Warsaw, Vienna, Dublin, Sydney,
Melbourne, Toronto, Mumbai, Delhi, Bangalore, Tokyo, Beijing, Hong Kong, Dubai, Cairo, Lagos,
Nairobi, UK, USA, US, U.S., EU, Europe, Asia, Africa, LA, NYC, SF, Texas, California, Florida,
Ohio, England, Scotland, Wales, Reading, Bath, Bend, Mobile
""")
