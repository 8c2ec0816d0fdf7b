"""Words of industrial life, from which the records are made. All makers and companies are invented."""

# ruff: noqa: RUF001 - the dashes and signs are meant: real names have them
from __future__ import annotations

#: Equipment: name, category, and what is done to it.
EQUIPMENT = (
    ("Centrifugal pump", "Pumps", "Replace mechanical seal"),
    ("Screw compressor", "Compressors", "Change oil and separator"),
    ("Belt conveyor", "Conveyors", "Track and tension belt"),
    ("Roller conveyor", "Conveyors", "Replace worn rollers"),
    ("Induction motor", "Motors", "Measure winding resistance"),
    ("Gearbox", "Drives", "Sample gear oil"),
    ("Cooling tower", "Utilities", "Clean spray nozzles"),
    ("Steam boiler", "Utilities", "Inspect burner and safety valve"),
    ("Heat exchanger", "Process", "Descale tube bundle"),
    ("Control valve", "Valves", "Calibrate positioner"),
    ("Hydraulic press", "Forming", "Replace cylinder seals"),
    ("CNC milling machine", "Machining", "Check spindle run-out"),
    ("Packaging line", "Packaging", "Adjust film tension"),
    ("Palletizing robot", "Robotics", "Grease axes and check brakes"),
    ("Forklift truck", "Vehicles", "Inspect mast and chains"),
    ("Overhead crane", "Lifting", "Inspect hoist rope"),
    ("Exhaust fan", "Ventilation", "Balance impeller"),
    ("Chiller", "Utilities", "Check refrigerant charge"),
    ("Agitator", "Process", "Replace shaft bearing"),
    ("Bag filter", "Ventilation", "Replace filter bags"),
)

#: Parts: name and category.
PARTS = (
    ("Deep groove ball bearing 6205-2RS", "Bearings"),
    ("Spherical roller bearing 22210", "Bearings"),
    ("Mechanical seal 35 mm SiC/SiC", "Seals"),
    ("O-ring 50 × 3 FKM", "Seals"),
    ("Radial shaft seal 40 × 62 × 8", "Seals"),
    ("V-belt SPA 1250", "Belts"),
    ("Conveyor belt EP 400/3, 650 mm", "Belts"),
    ("Timing belt HTD 8M-1200", "Belts"),
    ("Gear oil ISO VG 220", "Lubricants"),
    ("Bearing grease NLGI 2", "Lubricants"),
    ("Hydraulic oil HLP 46", "Lubricants"),
    ("Oil filter element 10 µm", "Filters"),
    ("Air filter cartridge", "Filters"),
    ("Proximity switch M12 PNP", "Sensors"),
    ("Pressure transmitter 0–16 bar", "Sensors"),
    ("Thermocouple type K", "Sensors"),
    ("Contactor 25 A, 24 V DC", "Electrical"),
    ("Motor protection switch 6–10 A", "Electrical"),
    ("Frequency converter 7.5 kW", "Electrical"),
    ("Fuse gG 63 A", "Electrical"),
    ("Ball valve DN 50 PN 40", "Valves"),
    ("Solenoid valve 3/2, G¼", "Valves"),
    ("Flange gasket DN 100", "Gaskets"),
    ("Coupling element 98 ShA", "Drives"),
    ("Impeller Ø 210 mm, bronze", "Pumps"),
    ("Hexagon bolt M16 × 60 8.8", "Fasteners"),
    ("Conveyor roller Ø 89 × 750", "Conveyors"),
    ("Pneumatic cylinder 63 × 200", "Pneumatics"),
)

MAKERS = (
    "Halvorsen Pumper",
    "Brückner & Söhne",
    "Kaitō Precision",
    "Ferreira Irmãos",
    "Nordwerk",
    "Atelier Dubœuf",
    "Cascade Machine Works",
    "Łódź Napędy",
)

COMPANIES = (
    "Müller Antriebstechnik GmbH",
    "Société Générale des Vannes",
    "Harbor Industrial Supply",
    "Ørsund Lager AS",
    "Prairie Bearing & Drive",
    "Suministros Peñalara",
    "Three Rivers Electric",
    "Kowalczyk Uszczelnienia",
    "Bluegrass Fluid Power",
    "Åkerlund Hydraulik",
    "Granite State Fasteners",
    "São Bento Lubrificantes",
    "Lakeshore Automation",
    "Čermák Filtrace",
    "Delta Conveyor Parts",
    "Yamabuki Tools",
)

ORGANIZATIONS = ("Northfield Foods", "Northfield Packaging", "Northfield Logistics", "Northfield Energie")

#: Places: town, state, country, post code, latitude, longitude.
TOWNS = (
    ("Duluth", "MN", "US", "55802", "46.7867", "-92.1005"),
    ("Düsseldorf", "NW", "DE", "40210", "51.2277", "6.7735"),
    ("Querétaro", "QUE", "MX", "76000", "20.5888", "-100.3899"),
    ("Malmö", "M", "SE", "21119", "55.6050", "13.0038"),
    ("Spokane", "WA", "US", "99201", "47.6588", "-117.4260"),
    ("Besançon", "BFC", "FR", "25000", "47.2378", "6.0241"),
    ("Wrocław", "DS", "PL", "50-001", "51.1079", "17.0385"),
    ("Chattanooga", "TN", "US", "37402", "35.0456", "-85.3097"),
)

STREETS = ("Harbor Road", "Industriestraße", "Mill Lane", "Fabriksgatan", "Foundry Street", "Rue de l'Écluse")
AREAS = ("Boiler house", "Line 1", "Line 2", "Packing hall", "Utilities", "Tank farm", "Dock", "Workshop")
STORES = (
    "Main store",
    "Spare parts cage",
    "Lubricant store",
    "Line-side store",
    "Receiving bay",
    "Tool crib",
)
ACCOUNTS = ("Maintenance labour", "Spare parts", "Contract services", "Energy", "Capital projects", "Safety")
TEAMS = ("Mechanical", "Electrical", "Instrumentation", "Utilities", "Reliability", "Night shift", "Stores")
ROLES = ("Mechanic", "Electrician", "Instrument technician", "Planner", "Supervisor", "Storekeeper", "Welder")
PROJECTS = ("Compressor replacement", "Line 2 debottlenecking", "LED relighting", "Boiler retrofit")
GROUPS = (
    "Rotating parts",
    "Seals and gaskets",
    "Electrical",
    "Lubricants",
    "Fasteners",
    "Packaging",
    "Safety",
)
FIRST_NAMES = (
    "Anna", "Björn", "Chloé", "Diego", "Emily", "Farid", "Grażyna", "Hannah", "Ivan", "José", "Kenji",
    "Lucía", "Marcus", "Nia", "Oksana", "Peter", "Renée", "Søren", "Tomáš", "Zoë",
)  # fmt: skip
LAST_NAMES = (
    "Andersson", "Brown", "Çelik", "Dvořák", "Estévez", "Fischer", "García", "Hughes", "Ito", "Jørgensen",
    "Kowalski", "Lefèvre", "Meyer", "Nguyen", "O'Brien", "Peña", "Reyes", "Schröder", "Taylor", "Żak",
)  # fmt: skip

#: Units: code, name, code of the base unit, rate to it.
UNITS = (
    ("EA", "Each", "EA", "1"),
    ("BOX", "Box of 10", "EA", "10"),
    ("M", "Metre", "M", "1"),
    ("MM", "Millimetre", "M", "0.001"),
    ("KG", "Kilogram", "KG", "1"),
    ("L", "Litre", "L", "1"),
    ("DRUM", "Drum of 200 l", "L", "200"),
    ("H", "Hour", "H", "1"),
    ("BAR", "Bar", "BAR", "1"),
    ("C", "Degree Celsius", "C", "1"),
)
CURRENCIES = (
    ("EUR", "Euro", "1"),
    ("USD", "US dollar", "1.08"),
    ("SEK", "Swedish krona", "11.32"),
    ("PLN", "Polish złoty", "4.31"),
    ("MXN", "Mexican peso", "18.7"),
)
TAXES = (("Standard rate", "19.00"), ("Reduced rate", "7.00"), ("Sales tax", "6.88"), ("Zero rate", "0.00"))
CUSTOM_FIELDS = (
    "permit_number",
    "lockout_required",
    "shift",
    "failure_code",
    "Gefährdungsstufe",
    "cost_center",
)

#: Statuses: code, name; the first four are of work that goes on, the others of work that is over.
WORK_STATUSES = (
    ("WAPPR", "Waiting for approval"),
    ("APPR", "Approved"),
    ("WMATL", "Waiting for material"),
    ("INPRG", "In progress"),
    ("COMP", "Completed"),
    ("CLOSE", "Closed"),
    ("CAN", "Cancelled"),
)
PAPER_STATUSES = (
    ("DRAFT", "Draft"),
    ("SUBM", "Submitted"),
    ("APPR", "Approved"),
    ("PART", "Partly delivered"),
    ("COMP", "Complete"),
    ("CLOSE", "Closed"),
    ("CANC", "Cancelled"),
)
OPEN_STATUSES = 4

REMARKS = (
    "Found worn, replaced.",
    "No defect found; monitor vibration.",
    "Temporary repair – order the part.",
    "Nächster Stillstand: Lager tauschen.",
    "Cleaned, aligned and tested under load.",
    "Leak at flange, gasket renewed.",
    "Pièce commandée, délai 3 semaines.",
    "Operator reports noise above 60 °C.",
)
INSTRUCTIONS = (
    "Lock out and tag out. Drain before opening.",
    "Permit to work needed. Two persons.",
    "Use calibrated torque wrench; see drawing.",
    "Take readings before and after.",
)
STEPS = ("Isolate and lock out", "Inspect", "Dismantle", "Replace parts", "Reassemble and align", "Test run")
CHECKS = ("Guards in place", "No leakage", "Temperature below 70 °C", "Bolts torqued")
SHIPPING = ("Truck", "Parcel", "Courier", "Sea freight", "Pick-up")
CARRIERS = ("Northline Freight", "Fjord Express", "Prairie Parcel", "Étoile Transports")
TERMS = ("Net 30", "Net 60", "2 % 10, net 30", "Prepaid")
REASONS = ("Cycle count", "Damaged", "Found in store", "Scrapped", "Returned from job")
