"""Prompts that call for long answers: every topic under every request."""

from itertools import product

TOPICS = """
the history of tea|how bridges stand|coral reefs|the printing press|learning to cook|volcanoes
chess openings|growing tomatoes|medieval castles|how vaccines work|jazz music|the Sahara desert
black holes|bread baking|the Roman roads|whales|electric cars|public libraries|mountain climbing
photosynthesis|the Silk Road|time management|sailing ships|honey bees|the human heart|chocolate
urban gardens|the invention of zero|glaciers|learning a language|the stock market|owls
recycling|the Olympic Games|clocks|rainforests|writing a novel|earthquakes|coffee|telescopes
the water cycle|running a marathon|ancient Egypt|computers|wolves|painting with watercolours
lighthouses|the moon|friendship|railways|penguins|weather forecasts|maps|folk tales|the Arctic
bicycles|antibiotics|the violin|deep sea creatures|the French Revolution|solar power|dreams
architecture|dogs
"""
REQUESTS = (
    "Write a long and detailed essay about {}.",
    "Tell me a long story in which {} plays an important part.",
    "Explain {} to a curious beginner, thoroughly and with many examples.",
    "Write a long magazine article on the past, the present and the future of {}.",
    "Give a lecture for students about {}, with an introduction and several parts.",
    "Write a long letter to a friend about your fascination with {}.",
    "Discuss at length what most people get wrong about {}.",
    "Describe in great detail a day spent with {}.",
)


def prompts(count: int) -> list[str]:
    """Return the first `count` (at most 512) prompts, topics varying fastest."""
    topics = [topic for line in TOPICS.split("\n") for topic in line.split("|") if topic]
    every = [request.format(topic) for request, topic in product(REQUESTS, topics)]
    if count > len(every):
        raise ValueError(f"only {len(every)} prompts")
    return every[:count]
