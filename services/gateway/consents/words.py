"""Words for phrases: common, of two syllables and more, in the dictionary of the recogniser, and unlike each other.

Of 354 candidates those were dropped whose pronunciation is nearest to another's, until 256 were left (edit distance of
phones, related ones at 0.4); any two of the rest are at least 2 phones apart.
"""

from __future__ import annotations

from typing import Final

_LISTED: Final = """
acorn almond anchor antelope apricot artist aspen atlas autumn avenue balcony bamboo banana banjo bathtub
beaver bedroom bicycle biscuit blanket blossom boulder bracelet broccoli buffalo button cactus calendar camera
candle carpet ceiling chestnut chicken chimney chocolate cinnamon circus clarinet clover cobweb coconut coffee
compass coral cottage cowboy cracker crystal cucumber cushion daisy dancer december doctor dolphin donkey
doorway dragon driver eagle elbow elephant elevator emerald engine evening fabric factory february festival
fiddle fireplace fisherman flamingo flower forest fountain fragrance friday furniture galaxy garden garlic
ginger giraffe glacier goldfish gorilla grapefruit gravel guitar hamster harbor hazelnut helicopter hickory
horizon hospital hotel hurricane iceberg igloo ivory jacket jaguar january journal jungle juniper kangaroo
keyboard kingdom ladder lantern laundry lemon leopard lettuce library lighthouse lion lobster magnet mailbox
mango maple marble meadow medicine melody mermaid meteor microphone mirror morning mosquito museum mushroom
mustard napkin necklace newspaper notebook november nutmeg oatmeal october octopus olive orange orchid ostrich
oyster package painter pancake peacock peanut pelican pencil piano picnic pillow pineapple pirate pistachio
plastic pocket pony popcorn porcelain potato powder pumpkin puppet purple pyramid raccoon radish railway
rainbow raspberry raven reindeer rooster rosemary ruby sandwich sapphire saturday saxophone scissors scorpion
sculptor seashell september silver skeleton slipper snowflake sofa spaghetti sparrow spider spinach squirrel
stadium statue strawberry summer sunflower sunday suitcase sweater swimmer telescope temple theater thunder
thursday tiger timber tobacco tomato tornado tortoise traffic treasure triangle trumpet tuesday tulip turkey
turnip turtle twilight umbrella unicorn uniform universe vanilla velvet village vinegar violin volcano waffle
walnut walrus wednesday window woodpecker yogurt zebra zeppelin
"""
WORDS: Final = tuple(_LISTED.split())
