"""A small table of facts that statements are made of: countries and their capitals, by general knowledge."""

_CAPITALS = """
Afghanistan: Kabul; Albania: Tirana; Algeria: Algiers; Angola: Luanda; Argentina: Buenos Aires; Armenia: Yerevan;
Australia: Canberra; Austria: Vienna; Azerbaijan: Baku; Bahrain: Manama; Bangladesh: Dhaka; Belarus: Minsk; Belgium:
Brussels; Bhutan: Thimphu; Botswana: Gaborone; Brazil: Brasilia; Bulgaria: Sofia; Cambodia: Phnom Penh; Cameroon:
Yaounde; Canada: Ottawa; Chile: Santiago; China: Beijing; Colombia: Bogota; Croatia: Zagreb; Cuba: Havana; Cyprus:
Nicosia; Denmark: Copenhagen; Ecuador: Quito; Egypt: Cairo; Eritrea: Asmara; Estonia: Tallinn; Ethiopia: Addis
Ababa; Fiji: Suva; Finland: Helsinki; France: Paris; Georgia: Tbilisi; Germany: Berlin; Ghana: Accra; Greece:
Athens; Haiti: Port-au-Prince; Honduras: Tegucigalpa; Hungary: Budapest; Iceland: Reykjavik; India: New Delhi;
Indonesia: Jakarta; Iran: Tehran; Iraq: Baghdad; Ireland: Dublin; Italy: Rome; Jamaica: Kingston; Japan: Tokyo;
Jordan: Amman; Kenya: Nairobi; Laos: Vientiane; Latvia: Riga; Lebanon: Beirut; Liberia: Monrovia; Libya: Tripoli;
Lithuania: Vilnius; Madagascar: Antananarivo; Malawi: Lilongwe; Malaysia: Kuala Lumpur; Mali: Bamako; Malta:
Valletta; Mongolia: Ulaanbaatar; Morocco: Rabat; Mozambique: Maputo; Namibia: Windhoek; Nepal: Kathmandu; New
Zealand: Wellington; Nicaragua: Managua; Niger: Niamey; Nigeria: Abuja; Norway: Oslo; Oman: Muscat; Pakistan:
Islamabad; Paraguay: Asuncion; Peru: Lima; Philippines: Manila; Poland: Warsaw; Portugal: Lisbon; Qatar: Doha;
Romania: Bucharest; Russia: Moscow; Rwanda: Kigali; Saudi Arabia: Riyadh; Senegal: Dakar; Serbia: Belgrade;
Slovakia: Bratislava; Slovenia: Ljubljana; Somalia: Mogadishu; South Korea: Seoul; Spain: Madrid; Sudan: Khartoum;
Sweden: Stockholm; Syria: Damascus; Thailand: Bangkok; Tunisia: Tunis; Turkey: Ankara; Uganda: Kampala; Ukraine:
Kyiv; Uruguay: Montevideo; Uzbekistan: Tashkent; Venezuela: Caracas; Vietnam: Hanoi; Yemen: Sanaa; Zambia: Lusaka;
Zimbabwe: Harare
"""
CAPITALS = tuple(tuple(pair.split(": ")) for pair in " ".join(_CAPITALS.split()).split("; "))
"""(country, capital), one seat of government each; countries with several capitals are left out."""
